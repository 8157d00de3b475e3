"""Octavia provider `noop`: a load balancer of it has its Neutron port and everything else that the API shows, checked as
the amphora provider checks it, and forwards nothing. What is asked is done within a quarter of a second, however much it is;
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
from sqlalchemy import case, select, update

LOG = logging.getLogger(__name__)
PENDING = 'PENDING_CREATE', 'PENDING_UPDATE', 'PENDING_DELETE'


ASKED = threading.Event()


class Nobody:
    """In place of the worker: that there is a change; which, is read from the database."""

    def cast(self, *_, **__):
        ASKED.set()


class NoopProvider(driver.AmphoraProviderDriver):
    def __init__(self):
        super().__init__()
        self.client = Nobody()


def pending(session, balancer):
    """What of a load balancer is PENDING, by what a status report calls it. (Its objects one by one cost a second where
    there are thirty pools.)"""
    def of(model, *joined):
        query = session.query(model)
        for other in joined:
            query = query.join(other)
        top = joined[-1] if joined else model
        return query.filter(top.load_balancer_id == balancer.id, model.provisioning_status.in_(PENDING)).all()

    return {
        constants.MEMBERS: of(models.Member, models.Pool),
        constants.HEALTHMONITORS: of(models.HealthMonitor, models.Pool),
        constants.L7RULES: of(models.L7Rule, models.L7Policy, models.Listener),
        constants.L7POLICIES: of(models.L7Policy, models.Listener),
        constants.LISTENERS: of(models.Listener),
        constants.POOLS: of(models.Pool),
        constants.LOADBALANCERS: [balancer],
    }


def report(session, balancer):
    """What is PENDING is done; with a load balancer goes everything in it, at once: reported one by one, thirty pools take
    two minutes."""
    if balancer.provisioning_status == 'PENDING_DELETE':
        for below in list(balancer.listeners) + list(balancer.pools):
            session.delete(below)
        return {constants.LOADBALANCERS: [{'id': balancer.id, 'provisioning_status': 'DELETED'}]}
    status = {}
    for kind, things in pending(session, balancer).items():
        for thing in things:
            if thing.provisioning_status == 'PENDING_DELETE':
                status.setdefault(kind, []).append({'id': thing.id, 'provisioning_status': 'DELETED'})
            elif thing.provisioning_status in PENDING:
                online = 'NO_MONITOR' if kind == constants.MEMBERS else 'ONLINE'
                status.setdefault(kind, []).append({
                    'id': thing.id, 'provisioning_status': 'ACTIVE',
                    'operating_status': online if thing.enabled else 'OFFLINE'})
    return status


# What is below a load balancer: its table, and which of its rows are below the one of this id.
LISTENER, POOL, POLICY = (model.__table__ for model in (models.Listener, models.Pool, models.L7Policy))


def below(balancer):
    listeners = select(LISTENER.c.id).where(LISTENER.c.load_balancer_id == balancer)
    pools = select(POOL.c.id).where(POOL.c.load_balancer_id == balancer)
    policies = select(POLICY.c.id).where(POLICY.c.listener_id.in_(listeners))
    member, monitor, rule = (model.__table__ for model in (models.Member, models.HealthMonitor, models.L7Rule))
    return [(member, member.c.pool_id.in_(pools)), (monitor, monitor.c.pool_id.in_(pools)),
            (rule, rule.c.l7policy_id.in_(policies)), (POLICY, POLICY.c.listener_id.in_(listeners)),
            (LISTENER, LISTENER.c.load_balancer_id == balancer), (POOL, POOL.c.load_balancer_id == balancer)]


def activate(session, table, ids):
    """By id, so that no other row and no gap between rows is locked."""
    online = 'NO_MONITOR' if table is models.Member.__table__ else 'ONLINE'
    session.execute(update(table).where(table.c.id.in_(ids)).values(
        provisioning_status='ACTIVE', operating_status=case((table.c.enabled, online), else_='OFFLINE')))


def settle_one(balancer):
    """Locks the load balancer's row before any other, as the API does: in another order each would wait for the other, and
    MariaDB ends one of the two, which the API tells its caller as a 400 or a 500."""
    table = models.LoadBalancer.__table__
    session = db_api.get_session()
    with session.begin():
        own = table.c.id == balancer
        session.execute(select(table.c.id).where(own).with_for_update())
        found = []
        for part, its in below(balancer) + [(table, own)]:
            rows = session.execute(select(part.c.id, part.c.provisioning_status).where(
                its, part.c.provisioning_status.in_(PENDING))).all()
            found.append((part, rows))
        if any(status == 'PENDING_DELETE' for _, rows in found for _, status in rows):
            return report(session, session.get(models.LoadBalancer, balancer))
        for part, rows in found:
            if rows:
                activate(session, part, [row for row, _ in rows])
    return {}


def settle():
    """Octavia's own way to take in a status reads the whole tree, once for each thing: a second of CPU where there are thirty
    pools. It is gone here only where something is deleted."""
    table = models.LoadBalancer.__table__
    session = db_api.get_session()
    with session.begin():
        found = session.execute(select(table.c.id).where(
            table.c.provider == 'noop', table.c.provisioning_status.in_(PENDING))).all()
    for (balancer,) in found:
        try:
            tell(settle_one(balancer))
        except Exception:
            LOG.exception('provider noop: load balancer %s', balancer)


def tell(status):
    # a pool goes after what refers to it
    last = {kind: status.pop(kind) for kind in (constants.POOLS, constants.LOADBALANCERS) if kind in status}
    for part in filter(None, (status, last)):
        done = driver_updater.DriverUpdater().update_loadbalancer_status(part)
        if done['status_code'] != 200:
            LOG.error('%s', done)


def loop():
    """Some looks after each change, which may be committed after it was told of; else one now and then: a look costs CPU."""
    looks = 0
    while True:
        if not looks:
            ASKED.wait(3)
        time.sleep(.1)
        looks = 15 if ASKED.is_set() else max(looks - 1, 0)
        ASKED.clear()
        try:
            settle()
        except Exception:
            LOG.exception('provider noop')


def start():
    threading.Thread(target=loop, daemon=True).start()
