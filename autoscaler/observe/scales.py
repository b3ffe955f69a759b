"""The ``/scale`` subresource of targets whose objects do not tell their count: read again only when they changed."""

import asyncio

from autoscaler.domain.pool import ScaleTarget
from autoscaler.kube import KubeReadError, KubeSession
from autoscaler.observe import targets
from autoscaler.observe.targets import Size

AT_ONCE = 8


class Scales:
    """Sizes by target, each with the resourceVersion of the object that it belongs to."""

    def __init__(self, session: KubeSession) -> None:
        """Know nothing yet."""
        self._session = session
        self._known: dict[ScaleTarget, tuple[str, Size]] = {}
        self._free = asyncio.Semaphore(AT_ONCE)

    async def of(self, target: ScaleTarget, version: str) -> Size | KubeReadError:
        """Return the size of a target whose object is at ``version``, or why it cannot be read."""
        known = self._known.get(target)
        if known is not None and known[0] == version:
            return known[1]
        try:
            async with self._free:
                resource = await self._session.resource(target.api_version, target.kind)
                scale = await self._session.get(resource.at(target.namespace, target.name, "scale"))
        except KubeReadError as error:
            return error
        size = targets.of_scale(scale)
        # the object may have moved on meanwhile: then the answer is newer than ``version``, and is read once more
        self._known[target] = (scale["metadata"]["resourceVersion"], size)
        return size
