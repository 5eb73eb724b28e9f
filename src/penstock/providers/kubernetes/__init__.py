"""Functions as Deployments of a Kubernetes cluster."""
