"""What the service can do a second, as ratios to bare limits measured in the same run.

python -m benchmarks                   # everything, about five minutes; writes RESULTS.md
python -m benchmarks --quick           # all of it in less than a minute, and rougher
python -m benchmarks --only transfer   # one half: rpc or transfer
python -m benchmarks.profile_import    # where the time of an import goes
"""
