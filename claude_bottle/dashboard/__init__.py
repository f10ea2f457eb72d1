"""What the operator sees of all bottles at once: view models here, plain data without a screen, and `tui`, which shows them.

Everything is read through `workflow` and the keepers' control sockets, and every action is a workflow's, so that no verb
of the command line and no key of the dashboard can differ. Nothing here imports textual but `tui`.
"""
