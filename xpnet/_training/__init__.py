"""The training engine behind `xpnet.Model`. Internal: it may change without notice."""
