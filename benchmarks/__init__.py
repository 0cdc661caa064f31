"""What the service can do a second, as ratios to bare limits measured in the same run.

python -m benchmarks                   # everything, some eleven minutes; writes RESULTS.md
python -m benchmarks --quick           # all of it in a few minutes, and rougher
python -m benchmarks --only transfer   # one part: rpc, transfer, phones, emails, names, ...
python -m benchmarks.profile_import    # where the time of an import goes
python -m benchmarks.matching_peers    # Splink and GoldenMatch on a world of benchmarks.worlds
"""
