"""Helpers of the tests; they have tests of their own in tests/test_support.py."""
