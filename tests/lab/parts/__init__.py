"""The lab's parts; see lab.py."""
