/*
 * Load between two network namespaces: what a second of CPU time achieves.
 */
#pragma once

enum workload {
	WORKLOAD_CONNECTIONS, /* connect, one byte each way, close */
	WORKLOAD_UDP,         /* datagrams of 64 bytes, one socket */
	WORKLOAD_BULK,        /* bytes over one TCP connection */
	_WORKLOAD_MAX,
};

/* Opens the servers in the namespace `out`; bulk is swallowed by a child that ends with its parent. */
int traffic_serve(int out_fd);
/* Achieved per second of CPU time, in the namespace that the caller is in; negative: failed. */
double traffic_run(enum workload workload, double seconds);
/* Sends one datagram to each of `n` ports from `first` on. */
int traffic_ports(unsigned int first, unsigned int n);
