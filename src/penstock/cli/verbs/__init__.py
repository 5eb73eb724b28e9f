"""One file per verb, each with a click command named `command`; imported only when the verb is used."""
