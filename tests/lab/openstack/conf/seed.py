"""What the lab puts into its cloud, by the services' own APIs; idempotent, standard library only.
seed.py identity KEYSTONE_PORT PASSWORD SERVICE=PORT...   users, roles, endpoints, project `demo` (as admin)
seed.py network KEYSTONE_PORT PASSWORD neutron=PORT       external network `public` (as admin); network and security group `pods` (as isthmus)
seed.py leg|no-leg KEYSTONE_PORT PASSWORD neutron=PORT node=NAME   a node's own port there; prints id, MAC and address"""
import json
import sys
import time
import urllib.error
import urllib.request

what, keystone_port, password = sys.argv[1:4]
services = dict(a.split('=') for a in sys.argv[4:])
KEYSTONE = 'http://127.0.0.1:%s/v3' % keystone_port
TYPES = {'neutron': 'network', 'octavia': 'load-balancer', 'barbican': 'key-manager'}
token = None


def call(method, url, body=None):
    """The decoded answer and its headers; an HTTP error ends the script with what the service said. A service that has only just
    started answers 503 where its own call of Keystone took too long: that is asked again."""
    req = urllib.request.Request(url, method=method, data=None if body is None else json.dumps(body).encode(),
                                 headers={'Content-Type': 'application/json'})
    if token:
        req.add_header('X-Auth-Token', token)
    for left in reversed(range(10)):
        try:
            with urllib.request.urlopen(req) as r:
                raw = r.read()
                return (json.loads(raw) if raw else None), r.headers
        except urllib.error.HTTPError as e:
            if e.code == 503 and left:
                time.sleep(1)
                continue
            sys.exit('%s %s: %s %s' % (method, url, e.code, e.read().decode(errors='replace')))


def login(user, project):
    return call('POST', KEYSTONE + '/auth/tokens', {'auth': {
        'identity': {'methods': ['password'], 'password': {'user': {
            'name': user, 'password': password, 'domain': {'id': 'default'}}}},
        'scope': {'project': {'name': project, 'domain': {'id': 'default'}}}}})[1]['X-Subject-Token']


def ensure(base, kind, plural, query, **attrs):
    """The id of the object that the query finds, made first where it finds none."""
    got = call('GET', '%s/%s?%s' % (base, plural, query))[0][plural.replace('-', '_')]
    return got[0]['id'] if got else call('POST', '%s/%s' % (base, plural), {kind: attrs})[0][kind]['id']


def identity():
    def project(name):
        return ensure(KEYSTONE, 'project', 'projects', 'name=' + name, name=name, domain_id='default')

    def user(name):
        return ensure(KEYSTONE, 'user', 'users', 'name=' + name, name=name, password=password, domain_id='default')

    def grant(p, u, *roles):
        for name in roles:
            role = ensure(KEYSTONE, 'role', 'roles', 'name=' + name, name=name)
            call('PUT', '%s/projects/%s/users/%s/roles/%s' % (KEYSTONE, p, u, role))

    service_project, demo = project('service'), project('demo')
    for name, port in services.items():
        grant(service_project, user(name), 'admin', 'service')
        sid = ensure(KEYSTONE, 'service', 'services', 'type=' + TYPES[name], name=name, type=TYPES[name])
        for interface in 'public', 'internal', 'admin':
            ensure(KEYSTONE, 'endpoint', 'endpoints', 'service_id=%s&interface=%s' % (sid, interface), service_id=sid,
                   interface=interface, region_id='RegionOne', url='http://127.0.0.1:' + port)
    grant(demo, user('demo'), 'member', 'reader', 'load-balancer_member', 'creator')
    # the operator's own: `service` is what may set binding:host_id on a port, `creator` what may store secrets
    grant(demo, user('isthmus'), 'member', 'service', 'load-balancer_member', 'creator')
    grant(project('admin'), user('admin'), 'load-balancer_admin')


def outside():
    base = 'http://127.0.0.1:%s/v2.0' % services['neutron']
    net = ensure(base, 'network', 'networks', 'name=public', name='public', **{'router:external': True})
    ensure(base, 'subnet', 'subnets', 'name=public-v4', name='public-v4', network_id=net, ip_version=4,
           cidr='172.24.4.0/24', enable_dhcp=False)


def network():
    base = 'http://127.0.0.1:%s/v2.0' % services['neutron']
    # `isthmus` sees every project's objects: name its own
    mine = call('GET', KEYSTONE + '/auth/projects')[0]['projects'][0]['id']
    named = 'project_id=%s&name=' % mine
    net = ensure(base, 'network', 'networks', named + 'pods', name='pods')
    ensure(base, 'subnet', 'subnets', named + 'pods-v4', name='pods-v4', network_id=net, ip_version=4,
           cidr='10.100.0.0/16', enable_dhcp=False)
    ensure(base, 'subnet', 'subnets', named + 'pods-v6', name='pods-v6', network_id=net, ip_version=6,
           cidr='fd00:100::/64', enable_dhcp=False)
    group = ensure(base, 'security_group', 'security-groups', named + 'pods', name='pods')
    for family in 'IPv4', 'IPv6':
        ensure(base, 'security_group_rule', 'security-group-rules',
               'security_group_id=%s&direction=ingress&ethertype=%s' % (group, family),
               security_group_id=group, direction='ingress', ethertype=family, remote_group_id=group)


def leg(there):
    base, node = 'http://127.0.0.1:%s/v2.0' % services['neutron'], services['node']
    mine = 'project_id=%s' % call('GET', KEYSTONE + '/auth/projects')[0]['projects'][0]['id']
    ports = call('GET', '%s/ports?%s&name=leg-%s' % (base, mine, node))[0]['ports']
    if not there:
        for port in ports:
            call('DELETE', '%s/ports/%s' % (base, port['id']))
        return

    def the(plural, name):
        return call('GET', '%s/%s?%s&name=%s' % (base, plural, mine, name))[0][plural.replace('-', '_')][0]['id']
    port = ports[0] if ports else call('POST', base + '/ports', {'port': {
        'name': 'leg-' + node, 'network_id': the('networks', 'pods'), 'fixed_ips': [{'subnet_id': the('subnets', 'pods-v4')}],
        'security_groups': [the('security-groups', 'pods')], 'binding:host_id': node}})[0]['port']
    print(port['id'], port['mac_address'], port['fixed_ips'][0]['ip_address'] + '/16')


def main():
    global token
    if what == 'identity':
        token = login('admin', 'admin')
        identity()
        return
    if what == 'network':
        # only an administrator may make a network external
        token = login('admin', 'admin')
        outside()
    token = login('isthmus', 'demo')
    if what == 'network':
        network()
    else:
        leg(what == 'leg')


main()
