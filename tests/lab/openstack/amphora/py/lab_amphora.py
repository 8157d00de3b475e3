"""Octavia compute driver whose "virtual machine" is a network, pid, mount and host name
namespace on this machine, with the real amphora-agent and haproxy inside.

One amphora:  netns amp-ID, eth0 = veth to the management bridge of the lab's netns; one more
veth for each Neutron port, its other end on br-int of the chassis.  Everything it writes is
in STATE_DIR/COMPUTE-ID; its first process (boot.sh, then init.py) writes its pid to
PID_DIR/amp-ID, and ends everything inside when it ends.

No state is kept in memory: Octavia makes a new driver object for each task, and the health
manager, another process, deletes and builds amphorae too."""
import collections
import fcntl
import ipaddress
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import types
import uuid

from octavia.common import clients
from octavia.common import constants
from octavia.common import data_models
from octavia.common import exceptions
from octavia.compute import compute_base
from openstack import exceptions as os_exc
from oslo_config import cfg
from oslo_log import log as logging

LOG = logging.getLogger(__name__)
CONF = cfg.CONF
CONF.register_opts([
    cfg.StrOpt('state_dir'),
    cfg.StrOpt('pid_dir'),
    cfg.StrOpt('log_dir', help='logs of deleted amphorae go here'),
    cfg.StrOpt('namespaces', help='file with the names of the network namespaces to delete with the lab'),
    cfg.StrOpt('chassis', help='network namespace and OVN name of the node'),
    cfg.StrOpt('ovsdb', help='database of that node\'s Open vSwitch'),
    cfg.StrOpt('bridge', help='management bridge'),
    cfg.StrOpt('bridge_address', help='its address and prefix length'),
    cfg.StrOpt('boot', help='boot.sh'),
    cfg.IntOpt('boot_timeout', default=60),
], group='netns_compute')
OPT = CONF.netns_compute
ServerGroup = collections.namedtuple('ServerGroup', 'id')


def sh(*cmd, check=True):
    r = subprocess.run(cmd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, text=True)
    if check and r.returncode:
        raise exceptions.ComputeBuildException(fault='%s: %s' % (' '.join(cmd), r.stdout))
    return r.stdout


def vsctl(*args, check=True):
    return sh('ovs-vsctl', '--db=' + OPT.ovsdb, '--timeout=20', *args, check=check)


def ip(*args, check=True):
    return sh('ip', *args, check=check)


class Amphora:
    """What the file system knows of one amphora."""

    def __init__(self, compute_id):
        self.id = compute_id
        self.short = compute_id[:8]
        self.ns = 'amp-' + self.short
        self.dir = os.path.join(OPT.state_dir, compute_id)
        self.pidfile = os.path.join(OPT.pid_dir, self.ns)

    def address(self):
        try:
            with open(self.dir + '/address') as f:
                return f.read()
        except OSError:
            return None

    def pid(self):
        """The first process, if it is still the one that wrote the file."""
        try:
            with open(self.pidfile) as f:
                pid, born = f.read().split()[:2]
            with open('/proc/%s/stat' % pid) as f:
                return int(pid) if f.read().rsplit(')', 1)[1].split()[19] == born else None
        except (OSError, ValueError):
            return None

    def claim_address(self):
        net = ipaddress.ip_interface(OPT.bridge_address)
        with open(os.path.join(OPT.state_dir, 'lock'), 'w') as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            taken = {Amphora(d).address() for d in os.listdir(OPT.state_dir)}
            for a in map(str, net.network.hosts()):
                if a != str(net.ip) and a not in taken:
                    with open(self.dir + '/address', 'w') as f:
                        f.write(a)
                    return '%s/%d' % (a, net.network.prefixlen)
        raise exceptions.ComputeBuildException(fault='management network is full')


class NetnsCompute(compute_base.ComputeBase):
    @property
    def neutron(self):
        return clients.NeutronAuth.get_neutron_client().network

    def build(self, name='amphora', config_drive_files=None, **ignored):
        amp = Amphora(str(uuid.uuid4()))
        for d in 'etc/octavia/certs', 'lib/octavia', 'log', 'tmp':
            os.makedirs(os.path.join(amp.dir, d))
        try:
            for path, text in (config_drive_files or {}).items():
                path = os.path.join(amp.dir, path.lstrip('/'))
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, 'w') as f:
                    f.write(text if isinstance(text, str) else text.read())
            self._boot(amp, name)
        except Exception:
            self.delete(amp.id)
            raise
        return amp.id

    def _boot(self, amp, name):
        cidr = amp.claim_address()
        with open(OPT.namespaces, 'a') as f:
            f.write(amp.ns + '\n')
        ip('netns', 'add', amp.ns)
        ip('link', 'add', 'am' + amp.short, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', amp.ns)
        ip('link', 'set', 'am' + amp.short, 'master', OPT.bridge, 'up')
        ip('-n', amp.ns, 'link', 'set', 'lo', 'up')
        ip('-n', amp.ns, 'addr', 'add', cidr, 'dev', 'eth0')
        ip('-n', amp.ns, 'link', 'set', 'eth0', 'up')
        # "setsid --fork": the amphora is not to be our child, nobody here would wait for it. The inner setsid makes
        # a session of it that the lab's scripts can signal.
        subprocess.run(['setsid', '--fork', 'nsenter', '--net=/run/netns/' + amp.ns,
                        'unshare', '--mount', '--uts', '--pid', '--fork', '--kill-child',
                        'setsid', 'bash', OPT.boot, amp.dir, amp.pidfile, cidr.split('/')[0], name],
                       env=dict(os.environ, VENV=sys.prefix), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + OPT.boot_timeout
        while time.monotonic() < end:
            try:
                socket.create_connection((amp.address(), CONF.haproxy_amphora.bind_port), 1).close()
                return
            except OSError:
                time.sleep(.05)
            if os.path.exists(amp.pidfile) and not amp.pid():
                break
        raise exceptions.ComputeBuildException(fault='%s: agent not up, see %s/log' % (amp.ns, amp.dir))

    def delete(self, compute_id):
        if not compute_id:
            return
        amp = Amphora(compute_id)
        pid = amp.pid()
        if pid:
            os.kill(pid, signal.SIGKILL)        # pid 1 of its namespace: takes all with it
            while amp.pid():
                time.sleep(.02)
        for port in self.neutron.ports(device_id=compute_id):
            self.detach_port(compute_id, port.id)
        for tap in vsctl('--bare', '--columns=name', 'find', 'Interface',
                         'external_ids:vm-id=' + compute_id, check=False).split():
            self._unplug(tap)       # its Neutron port has gone before
        ip('link', 'del', 'am' + amp.short, check=False)
        ip('netns', 'del', amp.ns, check=False)
        if os.path.exists(amp.pidfile):
            os.remove(amp.pidfile)
        try:
            shutil.copytree(amp.dir + '/log', os.path.join(OPT.log_dir, amp.ns), dirs_exist_ok=True)
        except OSError:
            pass
        shutil.rmtree(amp.dir, ignore_errors=True)

    def status(self, compute_id):
        return constants.UP if Amphora(compute_id).pid() else constants.DOWN

    def get_amphora(self, compute_id, management_network_id=None):
        amp = Amphora(compute_id)
        ok = amp.pid()
        return data_models.Amphora(
            compute_id=compute_id, lb_network_ip=amp.address(),
            status=constants.ACTIVE if ok else constants.ERROR), None if ok else 'no such process'

    def attach_network_or_port(self, compute_id, network_id=None, ip_address=None, port_id=None):
        amp = Amphora(compute_id)
        if not amp.pid():
            raise exceptions.NotFound(resource='Instance', id=compute_id)
        if not port_id:
            port_id = self.neutron.create_port(network_id=network_id).id
        port = self.neutron.update_port(port_id, device_id=compute_id, device_owner='compute:netns',
                                        binding_host_id=OPT.chassis)
        tap, node = 'tap' + port_id[:10], OPT.chassis
        ip('link', 'add', tap, 'netns', node, 'type', 'veth', 'peer', 'name', 'p' + port_id[:10],
           'netns', amp.ns)
        ip('-n', amp.ns, 'link', 'set', 'p' + port_id[:10], 'address', port.mac_address)
        # the userspace datapath reads veths through AF_PACKET: no checksum offload
        sh('nsenter', '--net=/run/netns/' + amp.ns, 'ethtool', '-K', 'p' + port_id[:10], 'tx', 'off')
        ip('-n', node, 'link', 'set', tap, 'up')
        vsctl('--may-exist', 'add-port', 'br-int', tap, '--', 'set', 'Interface', tap,
              'external_ids:iface-id=' + port_id, 'external_ids:attached-mac=' + port.mac_address,
              'external_ids:iface-status=active', 'external_ids:vm-id=' + compute_id)
        # the agent announces the VIP once; OVN must have the port's flows by then
        vsctl('wait-until', 'Interface', tap, 'external_ids:ovn-installed=true', check=False)
        return types.SimpleNamespace(port_id=port_id, net_id=port.network_id, fixed_ips=port.fixed_ips)

    def _unplug(self, tap):
        vsctl('--if-exists', 'del-port', tap, check=False)
        ip('-n', OPT.chassis, 'link', 'del', tap, check=False)

    def detach_port(self, compute_id, port_id):
        self._unplug('tap' + port_id[:10])
        try:    # as Nova does with a port it did not make: it stays, unbound
            self.neutron.update_port(port_id, device_id='', device_owner='', binding_host_id='')
        except os_exc.NotFoundException:
            pass

    def create_server_group(self, name, policy):
        return ServerGroup(str(uuid.uuid4()))

    def delete_server_group(self, server_group_id):
        pass

    def validate_flavor(self, flavor_id):
        pass

    def validate_availability_zone(self, availability_zone):
        pass
