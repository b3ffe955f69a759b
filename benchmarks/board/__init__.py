"""The scoreboard's parts: what is flown (tracks), cells that outlive a crash (flights), what was found, its page."""
