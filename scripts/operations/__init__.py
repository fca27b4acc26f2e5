"""What judges and parses behind the shell scripts, run in the tools image: a host needs neither Python nor jq."""
