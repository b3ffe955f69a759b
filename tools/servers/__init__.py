"""Real servers for tests: found where they are, else built or unpacked into a cache folder.

    python3 -m tools.servers            find or install all of them
    python3 -m tools.servers --check    only say what is there

Standard library only: it runs before anything is set up.
"""
