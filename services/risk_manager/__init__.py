"""risk-manager: verdict, budget and evidence for every pair and bar; drawdown, halts and operators' commands."""
