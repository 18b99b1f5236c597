"""A table on an object store whose newest manifests cannot be read: the newest that can becomes the latest version.

In a folder, checksums tell which manifests are damaged, also where Lance could still read them. On an object store
Lance tells it: what it cannot open is damaged or gone.
"""

from __future__ import annotations

import re

from prost.errors import LibraryDamaged
from prost.search.storage_errors import storage_errors
from prost.search.store import Store
from prost.search.table_files import VERSION_HINT, VERSIONS

_MANIFEST = re.compile(r"(\d+)\.manifest")
# Lance counts down in the names, from the largest number of 64 bits, so that the newest version is listed first.
_COUNTED_FROM = (1 << 64) - 1


def roll_back(store: Store, name: str) -> bool:
    """Make the newest version of a table that can be read the latest one; the lease is held by the caller.

    Args:
        store: a library on an object store.
        name: of the table.

    Returns:
        whether there is one.

    Raises:
        LibraryBusy: another writer took over.
        StorageError: the store refuses.
    """
    assert store.objects is not None
    there = {
        _version(found[1]): file
        for file in store.objects.sizes(f"{name}/{VERSIONS}")
        if (found := _MANIFEST.search(file))
    }
    damaged = []
    for version in sorted(there, reverse=True):
        try:
            with storage_errors(store.root):
                store.table(name, version)
            break
        except LibraryDamaged:
            damaged.append(version)
    else:
        return False
    store.expect_held()
    store.objects.remove([there[version] for version in damaged] + [f"{name}/{VERSIONS}/{VERSION_HINT}"])
    # A commit that builds on a version that was removed must find a later one that refuses it.
    with storage_errors(store.root):
        table = store.table(name)
        while table.version <= max(damaged, default=0):
            store.expect_held()
            with store.refusing_late_commits():
                table.restore()
    return True


def _version(number: str) -> int:
    """The version that the name of a manifest tells; older tables count upwards."""
    return _COUNTED_FROM - int(number) if len(number) == 20 else int(number)
