"""The agent's work on its way out: what it changed, shown, judged and carried over by the operator's word alone."""
