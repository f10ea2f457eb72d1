"""Working parts for tests, demos and benches: a scripted model server, a throw-away CA."""
