"""Serve one OpenStack WSGI application with gunicorn, in one worker process
with a thread pool.  usage: serve.py keystone|neutron|octavia|barbican PORT THREADS CONFIG...
or, of Octavia:  serve.py driver-agent SOCKETDIR CONFIG  |  serve.py health-manager CONFIG"""
import os
import sys
import time


def octavia_sockets(folder):
    """octavia-lib's default socket paths are fixed; provider drivers use the defaults."""
    from octavia_lib.api.drivers import driver_lib
    driver_lib.DriverLibrary.__init__.__defaults__ = tuple(
        '%s/%s.sock' % (folder, k) for k in ('status', 'stats', 'get'))


if sys.argv[1] == 'driver-agent':
    octavia_sockets(sys.argv[2])
    sys.argv = ['octavia-driver-agent', '--config-file', sys.argv[3]]
    from octavia.cmd import driver_agent
    sys.exit(driver_agent.main())
if sys.argv[1] == 'health-manager':
    sys.argv = ['octavia-health-manager', '--config-file', sys.argv[2]]
    from octavia.cmd import health_manager
    sys.exit(health_manager.main())

name, port, threads, files = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:]
sys.argv = [name + '-api']          # the services parse sys.argv themselves
if name == 'keystone':
    os.environ['OS_KEYSTONE_CONFIG_FILES'] = ';'.join(files)
elif name == 'neutron':
    os.environ['OS_NEUTRON_CONFIG_FILES'] = ';'.join(files)
    os.environ['ASGI_WORKERS'] = '1'    # ML2/OVN asks how many API workers there are
elif name == 'barbican':            # looks for its files itself, and in fixed places only
    from oslo_config import cfg
    cfg.find_config_files = lambda *_, **__: files
else:
    for f in files:
        sys.argv += ['--config-file', f]

from gunicorn.app.base import BaseApplication  # noqa: E402


def octavia_worker():
    """Run the amphora worker's RPC server as threads of this process: the in-memory
    message bus (fake://) then reaches it, and no broker is needed."""
    import oslo_messaging
    from octavia.common import constants, rpc
    from octavia.controller.queue.v2 import endpoints
    from oslo_config import cfg
    target = oslo_messaging.Target(topic=constants.TOPIC_AMPHORA_V2,
                                   server=cfg.CONF.host, fanout=False)
    server = oslo_messaging.get_rpc_server(rpc.TRANSPORT, target, [endpoints.Endpoints()],
                                           executor='threading')
    server.start()


class Serve(BaseApplication):
    def load_config(self):
        for k, v in {'bind': '127.0.0.1:' + port, 'workers': 1,
                     'worker_class': 'gthread', 'threads': threads,
                     'keepalive': 75, 'timeout': 0, 'graceful_timeout': 2,
                     'loglevel': 'warning', 'control_socket_disable': True,
                     'backlog': 512}.items():
            if k in self.cfg.settings:
                self.cfg.set(k, v)

    def load(self):
        if name == 'octavia':
            folder = os.path.dirname(os.path.dirname(files[0])) + '/octavia'
            octavia_sockets(folder)
            from octavia.api import app
            while not os.path.exists(folder + '/get.sock'):     # the OVN provider's API side needs its agent's
                time.sleep(.05)
            wsgi = app.setup_app(argv=sys.argv)
            octavia_worker()
            import lab_noop
            lab_noop.start()
            return wsgi
        if name == 'barbican':
            from paste import deploy
            return deploy.loadapp('config:%s/etc/barbican/barbican-api-paste.ini' % sys.prefix)
        from importlib import import_module
        return import_module(name + '.wsgi.api').application


Serve().run()
