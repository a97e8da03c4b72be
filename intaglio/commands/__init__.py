"""Commands that are more than a call: each module has `add_arguments` and `run`, and what it prints."""
