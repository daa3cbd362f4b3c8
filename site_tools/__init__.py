"""What turns the pages into a site, and what checks them.

Nothing here imports `calibration`: names are read from its sources, and whatever runs its
code is a process of its own. So the site and its checks always speak of the same package,
the installed one.
"""
