"""Budgets: caps on money, which hold in the transactions that commit records."""
