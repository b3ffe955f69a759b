"""Real servers that tests start: a Kubernetes control plane, Prometheus; and a kubelet of our own for its pods."""
