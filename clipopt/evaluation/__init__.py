"""Measure the package on fixed suites of prompts: shares with intervals, as a judge reads what was made."""
