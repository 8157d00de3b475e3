"""Octavia provider `noop`: a load balancer of it has its Neutron port and everything else that the API shows, checked as
the amphora provider checks it, and forwards nothing. What is asked is done within half a second, however much it is;
meanwhile it is PENDING, as with any provider.

Octavia's own `noop_driver` is no use here: what it makes is PENDING_CREATE for ever and its VIP has no port."""
import threading
import time

from octavia.api.drivers.amphora_driver.v2 import driver
from octavia.api.drivers.driver_agent import driver_updater
from octavia.common import constants
from octavia.db import api as db_api
from octavia.db import models
from oslo_log import log as logging

LOG = logging.getLogger(__name__)
PENDING = 'PENDING_CREATE', 'PENDING_UPDATE', 'PENDING_DELETE'


class Nobody:
    """In place of the worker: the changes are read from the database."""

    def cast(self, *_, **__):
        pass


class NoopProvider(driver.AmphoraProviderDriver):
    def __init__(self):
        super().__init__()
        self.client = Nobody()


def parts(balancer):
    """All that a load balancer is made of, by what a status report calls it"""
    listeners, pools = balancer.listeners, balancer.pools
    policies = [p for x in listeners for p in x.l7policies]
    return {
        constants.MEMBERS: [m for p in pools for m in p.members],
        constants.HEALTHMONITORS: [p.health_monitor for p in pools if p.health_monitor],
        constants.L7RULES: [r for p in policies for r in p.l7rules],
        constants.L7POLICIES: policies,
        constants.LISTENERS: listeners,
        constants.POOLS: pools,
        constants.LOADBALANCERS: [balancer],
    }


def report(balancer):
    """What is PENDING is done; with a load balancer goes everything in it."""
    gone, status = balancer.provisioning_status == 'PENDING_DELETE', {}
    for kind, things in parts(balancer).items():
        for thing in things:
            if gone or thing.provisioning_status == 'PENDING_DELETE':
                status.setdefault(kind, []).append({'id': thing.id, 'provisioning_status': 'DELETED'})
            elif thing.provisioning_status in PENDING:
                online = 'NO_MONITOR' if kind == constants.MEMBERS else 'ONLINE'
                status.setdefault(kind, []).append({
                    'id': thing.id, 'provisioning_status': 'ACTIVE',
                    'operating_status': online if thing.enabled else 'OFFLINE'})
    return status


def settle():
    session = db_api.get_session()
    with session.begin():
        pending = session.query(models.LoadBalancer).filter(
            models.LoadBalancer.provider == 'noop', models.LoadBalancer.provisioning_status.in_(PENDING))
        reports = [report(balancer) for balancer in pending]
    for one in reports:
        # a pool goes after what refers to it
        last = {kind: one.pop(kind) for kind in (constants.POOLS, constants.LOADBALANCERS) if kind in one}
        for status in one, last:
            done = driver_updater.DriverUpdater().update_loadbalancer_status(status)
            if done['status_code'] != 200:
                LOG.error('%s', done)


def loop():
    while True:
        time.sleep(.3)
        try:
            settle()
        except Exception:
            LOG.exception('provider noop')


def start():
    threading.Thread(target=loop, daemon=True).start()
