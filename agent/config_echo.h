/*
 * probe.echoes: each names what is asked and how it answers.
 */
#pragma once

#include "config.h"
#include "config_value.h"

/* A config_decode_fn; dest is the struct config. */
int config_echoes(struct config_reading *in, const struct yaml_node *value, const char *path,
                  void *dest);
void config_echo_clear(struct config_echo *echo);
