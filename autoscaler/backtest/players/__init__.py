"""The peers as they sit in a cluster: what each scrapes, how often, who writes the replicas, and its tuning knob.

Every player decides from an ``Observation``, as the product does, and answers with a ``Plan``. Players never withdraw a
pod first: none of the peers does.
"""
