"""Function templates: those shipped with the package, and those that git repositories and the template store bring."""
