"""The KV memory of one replica: who holds how many tokens of it, and what is free."""

from autoscaler.performance.step import EngineLimits
from autoscaler.simulate.prefix import PrefixCache
from autoscaler.simulate.request import Request


class KvMemory:
    """Tokens held by sequences that decode and by prompts; blocks that prompts share are counted once."""

    __slots__ = ("_block_tokens", "cache", "capacity", "prompts", "sequences")

    def __init__(self, limits: EngineLimits, cache: PrefixCache | None) -> None:
        """Start empty; without a ``cache`` nothing is shared."""
        self.capacity = limits.kv_capacity_tokens
        self.cache = cache
        self.sequences = 0  # tokens of the batch
        self.prompts = 0  # tokens of prompts: being computed, pinned, reserved
        self._block_tokens = limits.block_tokens

    @property
    def used(self) -> int:
        """Return the tokens in use; cached blocks without a user count as free."""
        return self.sequences + self.prompts - (self.cache.shared_tokens if self.cache else 0)

    @property
    def free(self) -> float:
        """Return the tokens that nobody uses."""
        return self.capacity - self.used

    def steps_within(self, steps: int, batch: int) -> int:
        """Return how many of ``steps`` find memory for a batch; a sequence alone may go on in any case."""
        if steps * batch <= self.capacity - self.prompts - self.sequences or batch == 1:
            return steps
        return min(steps, max(0, int(self.free // batch)))

    def admit(self, request: Request) -> bool:
        """Take memory for a prompt, using what the cache has of it; false if there is too little.

        A prompt that is alone is admitted whatever its length: it would wait for ever.
        """
        cache, free = self.cache, self.free
        alone = self.sequences == 0 and self.prompts == 0
        if cache is None or not request.hashes:
            if request.input > free and not alone:
                return False
        else:
            found = cache.match(request.hashes) * cache.block_tokens
            if request.input - found > free and not alone:
                return False
            block = self._block_tokens
            cached = min(found, (request.input - 1) // block * block)  # the last token is always computed
            cache.acquire(request.hashes)
            cache.shrink(free - request.input)
            request.cached = request.computed = cached
            request.left = request.input - cached
        self.prompts += request.input
        return True

    def unshare(self, request: Request) -> None:
        """Let go of the cached blocks of a prompt that was admitted here."""
        if self.cache is not None and request.hashes:
            self.cache.release(request.hashes)
