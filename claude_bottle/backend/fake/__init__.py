"""A backend that protects nothing: the smallest one that keeps the contract, to learn from and to test against.

Never in the table of backends, so that nobody can start an agent in it.
"""
