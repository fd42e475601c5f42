/*
 * The subcommands. Each returns the exit status of the contract:
 * 0 all verified, 1 open violation, 2 usage or configuration, 3 undecided.
 */
#pragma once

enum exit_status { EXIT_VERIFIED, EXIT_VIOLATED, EXIT_USAGE, EXIT_UNDECIDED };

int cmd_agent(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_violations(int argc, char **argv);
int cmd_flows(int argc, char **argv);
int cmd_gateways(int argc, char **argv);
int cmd_explain(int argc, char **argv);
int cmd_echo(int argc, char **argv);
int cmd_validate(int argc, char **argv);
int cmd_version(int argc, char **argv);
