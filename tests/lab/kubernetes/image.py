#!/usr/bin/env python3
"""Writes an image of one layer, as `ctr image import` takes it; standard library only.
image.py OUT.tar NAME:TAG '["/entry", "arg"]' PATH=FILE|PATH@TARGET...   files, and symbolic links"""
import hashlib
import io
import json
import sys
import tarfile

out, name, entry, items = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), sys.argv[4:]


def add(archive, path, data=None, **fields):
    info = tarfile.TarInfo(path)
    for field, value in fields.items():
        setattr(info, field, value)
    info.size = len(data or b'')
    archive.addfile(info, io.BytesIO(data) if data else None)


def digest(data):
    return hashlib.sha256(data).hexdigest()


content = io.BytesIO()
with tarfile.open(fileobj=content, mode='w') as layer:
    for folder in 'bin', 'etc', 'proc', 'sys', 'dev', 'run', 'tmp':
        add(layer, folder, type=tarfile.DIRTYPE, mode=0o1777 if folder == 'tmp' else 0o755)
    for item in items:
        if '=' in item:
            path, source = item.split('=', 1)
            with open(source, 'rb') as file:
                add(layer, path, file.read(), mode=0o755)
        else:
            path, target = item.split('@', 1)
            add(layer, path, type=tarfile.SYMTYPE, linkname=target)
layer = content.getvalue()
config = json.dumps({'architecture': 'amd64', 'os': 'linux',
                     'config': {'Entrypoint': entry, 'Env': ['PATH=/bin'], 'WorkingDir': '/'},
                     'rootfs': {'type': 'layers', 'diff_ids': ['sha256:' + digest(layer)]},
                     'history': [{'created_by': 'image.py'}]}).encode()
manifest = [{'Config': digest(config) + '.json', 'RepoTags': [name], 'Layers': [digest(layer) + '/layer.tar']}]
with tarfile.open(out, 'w') as image:
    add(image, digest(config) + '.json', config)
    add(image, digest(layer) + '/layer.tar', layer)
    add(image, 'manifest.json', json.dumps(manifest).encode())
