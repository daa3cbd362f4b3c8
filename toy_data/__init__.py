"""The toy country: a closed world of twelve districts, small enough to read whole.

The folder holds its files and the modules that make them; `README.md` says which are
real codes and published parameters and which are synthetic.
"""
