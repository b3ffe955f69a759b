"""Says how much load will be there when a replica ordered now serves, and how sure that is."""
