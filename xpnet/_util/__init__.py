"""Files and checks that all of xpnet shares. Internal: what is here may change without notice."""
