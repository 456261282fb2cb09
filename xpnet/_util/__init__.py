"""Files, checks and other helpers for all of xpnet. Internal: they may change without notice."""
