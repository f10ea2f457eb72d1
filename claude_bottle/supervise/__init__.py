"""The loop between a stuck agent and its operator, without any I/O: what becomes of requests, what they look like, what a
rule file approves. The keeper feeds it and carries out what comes of it. May import the model and what lies below."""
