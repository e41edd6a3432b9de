"""MockPSP: a payment service provider for development, tests and demonstrations, with every fault of a real one.

A peer of the product, spoken to over HTTP only: it shares no service, table, setting or code of rules with it.
"""
