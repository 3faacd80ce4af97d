"""Feast's registry file, for processes that look at it over and over."""

from __future__ import annotations

from feast.infra.registry import file
from feast.protos.feast.core.Registry_pb2 import Registry as RegistryProto


class FileRegistryStore(file.FileRegistryStore):
    """Feast's own registry file, whose definitions are made anew only when it has changed.

    Set ``registry.registry_store_type: feast_rs.FileRegistryStore``. Feast keeps the views and
    services that it has made of a registry for as long as it holds the same message, and gets a new
    message whenever it reads the file: when the cache's ``cache_ttl_seconds`` have passed, in the
    middle of a request, and at each ``push``. Here the file is read as often, and the message stays
    while its content does.
    """

    _last: RegistryProto | None = None

    def get_registry_proto(self) -> RegistryProto:
        """The registry as it is in the file.

        Raises:
            FileNotFoundError: There is none yet.
        """
        found: RegistryProto = super().get_registry_proto()  # type: ignore[no-untyped-call]
        # Who holds the last one may have changed it without writing it; then it is not equal.
        if found != self._last:
            self._last = found
        return self._last
