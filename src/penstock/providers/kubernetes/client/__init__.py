"""The client of an API server: kubeconfigs, credentials, requests that are asked again, answers that are checked, watches."""
