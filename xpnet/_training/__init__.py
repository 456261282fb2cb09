"""The training engine behind `xpnet.Model`. Internal: what is here may change without notice."""
