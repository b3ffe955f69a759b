"""An engine's prefix cache: blocks found again by hash, least recently used dropped first.

Rules as in vLLM v1: a block in use is shared and never dropped; a block without a user stays until its memory is
needed; a prefix matches only from the start of the prompt and without a hole.
"""

from collections import OrderedDict
from collections.abc import Sequence


class PrefixCache:
    """Blocks of one engine, by hash id."""

    __slots__ = ("_idle", "_users", "block_tokens", "shared_tokens")

    def __init__(self, block_tokens: int) -> None:
        """Start empty; every hash id stands for ``block_tokens`` tokens."""
        self.block_tokens = block_tokens
        self.shared_tokens = 0  # tokens that users of one block would hold twice if they did not share it
        self._users: dict[int, int] = {}  # blocks in use
        self._idle: OrderedDict[int, None] = OrderedDict()  # blocks kept for later, oldest first

    def match(self, hashes: Sequence[int]) -> int:
        """Return how many leading blocks are here."""
        users, idle = self._users, self._idle
        count = 0
        for block in hashes:
            if block not in users and block not in idle:
                break
            count += 1
        return count

    def acquire(self, hashes: Sequence[int]) -> None:
        """Use blocks: those that are here are shared, the others exist from now on."""
        users, idle = self._users, self._idle
        for block in hashes:
            count = users.get(block, 0)
            if count:
                self.shared_tokens += self.block_tokens
            else:
                idle.pop(block, None)
            users[block] = count + 1

    def release(self, hashes: Sequence[int]) -> None:
        """Stop using blocks; the tail of a prompt is dropped before its head."""
        users, idle = self._users, self._idle
        for block in reversed(hashes):
            count = users[block] - 1
            if count:
                users[block] = count
                self.shared_tokens -= self.block_tokens
            else:
                del users[block]
                idle[block] = None

    def shrink(self, free_tokens: float) -> None:
        """Drop idle blocks until they fit into the memory that requests leave free."""
        idle = self._idle
        while idle and len(idle) * self.block_tokens > free_tokens:
            idle.popitem(last=False)
