"""Everything that writes files, broken off in every way: killed, on a full disk, in a read-only folder, side by side.

python -m tests.support.file_faults --rounds 200
"""
