"""The dashboard on a terminal, in Textual. Whatever it shows are lines of the view models: text, never markup."""
