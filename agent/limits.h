/*
 * Every bound of the program, each with its reason. What a bound refuses is
 * counted where it bites.
 */
#pragma once

/* A node runs at most 250 pods on AKS; twice that leaves room for churn. */
#define SUBJECTS_MAX 512
/* AKS allows 500 gateways per cluster; the file inventory may hold a cluster's. */
#define GATEWAYS_MAX 2048
/* Pods of one node, terminated ones that are still listed included; the file inventory may list a cluster. */
#define PODS_MAX 16384
#define NODES_MAX 8192
/* Entries of one gateway's excludeCidrs. The CRD sets no bound. */
#define GATEWAY_EXCEPTIONS_MAX 1024
/* Gateway nodes of one pool; AKS node pools hold at most 1000. */
#define GATEWAY_PROFILES_MAX 1024
/*
 * A public prefix is one CIDR; a private list has one address per NIC of the gateway
 * nodepool, and a pool whose prefix is public has at most 16 nodes (/28). Held
 * inline by every gateway: 4 KiB each.
 */
#define PREFIX_ITEMS_MAX 256
/* Bytes of egressIpPrefix that we keep: that many addresses, with blanks. Of an exclude that is no CIDR: to name it. */
#define EGRESS_PREFIX_MAX (16u << 10)
#define BAD_EXCEPTION_MAX 128
/* policy.clusterCidrs */
#define CLUSTER_CIDRS_MAX 256
/* excludedCIDRs of the CNI configuration */
#define CNI_EXCEPTIONS_MAX 256
/* policy.requireGateway, and labels of one selector */
#define REQUIRE_RULES_MAX 64
#define SELECTOR_LABELS_MAX 16
/* Labels of one pod that we keep. Who deploys it sets them: past this a selector has to assume that it matches. */
#define POD_LABELS_MAX 128
/* Bytes of one annotation that we keep: a path has at most PATH_MAX. */
#define ANNOTATION_MAX 4096
/* probe.echoes: each costs one request per subject and interval. */
#define ECHOES_MAX 16
/* http.listen and http.metrics */
#define LISTENERS_MAX 8

/* Configuration and inventory files; a kubectl list of a large cluster is tens of MiB. */
#define CONFIG_FILE_MAX (1u << 20)
#define INVENTORY_FILE_MAX (64u << 20)
/* Nesting of YAML: a pod's deepest field is about 12 deep. */
#define YAML_DEPTH_MAX 64
/* Values of a configuration: every list of it full is fewer than 8,000. */
#define YAML_DOCUMENT_NODES_MAX 16384
/* Values of one Kubernetes object: etcd takes 1.5 MiB of it, most of which is text. */
#define YAML_OBJECT_NODES_MAX 262144
/* Bytes of one text: more than etcd takes of a whole object. */
#define YAML_SCALAR_MAX (2u << 20)

/* Rows one netlink dump may bring: a pod has a handful, a hostile one could add millions. */
#define LIVE_LINKS_MAX 64
#define LIVE_ADDRESSES_MAX 128
#define LIVE_ROUTES_MAX 2048
#define LIVE_RULES_MAX 256
#define LIVE_PEERS_MAX 16
#define LIVE_ALLOWED_IPS_MAX 16

/* Flows held in memory; about 100 bytes each. */
#define FLOWS_MAX 131072
/* Violations held: open ones are never evicted, resolved ones oldest first. */
#define VIOLATIONS_MAX 4096
/* Bytes of evidence of one violation. */
#define EVIDENCE_MAX 8192

/* Bytes of an echo's answer that are read: an address and a little JSON or text around it. */
#define ECHO_BODY_MAX 4096
#define ECHO_HEADERS_MAX 8192
/* Probes in flight; 64 were no slower than 250, and an HTTPS probe takes 87 kB. */
#define PROBES_IN_FLIGHT_MAX 64

/* Local HTTP endpoint. */
#define HTTP_CONNECTIONS_MAX 64
#define HTTP_ANSWER_MAX (64u << 20)
#define HTTP_PAGE_ITEMS_MAX 1000 /* ?limit= */
#define HTTP_EVENT_CLIENTS_MAX 16
/* Of one address that is not the loopback: a Prometheus or kubelet needs one or two. */
#define HTTP_PER_PEER_MAX 8
/* Query parameters of one request, headers of one answer: no route has more than four. */
#define HTTP_PARAMS_MAX 8
#define HTTP_RESPONSE_HEADERS_MAX 8
/* No route takes a body; a client may send a small one out of habit. */
#define HTTP_BODY_MAX 1024
/* Request line; and line, headers and answer's headers together in libmicrohttpd's pool. */
#define HTTP_TARGET_MAX 2048
#define HTTP_POOL_MAX 12288
/* Seconds until a request is complete, waiting for it included; until an answer was taken. */
#define HTTP_REQUEST_S 10
#define HTTP_ANSWER_S 60
/* Bytes that wait for one reader of events; one event is at most some kB. */
#define HTTP_STREAM_QUEUE_MAX (256u << 10)
/*
 * Rows of the spool's history that are looked at for one page: some beyond the page, for those of the moment
 * where it begins; when it is filtered, or all are of that moment, more. Bytes of them that are kept.
 */
#define HISTORY_ROWS_SPARE 64
#define HISTORY_ROWS_MAX (VIOLATIONS_MAX + HTTP_PAGE_ITEMS_MAX + 1)
#define HISTORY_BYTES_MAX (8u << 20)
/* Answers that are not ready at once. */
#define HTTP_DEFERRED_MAX 8
/* A silent stream says that it is alive: kubectl port-forward and proxies cut idle ones. */
#define HTTP_STREAM_IDLE_S 15
/* Without ?limit=; kubectl asks for as many at a time. */
#define HTTP_PAGE_ITEMS 500
/* Events kept for readers that come back, and bytes of one. */
#define EVENTS_KEPT_MAX 256
#define EVENT_BYTES_MAX (16u << 10)
/* Series of one metric: 512 subjects, or ten kinds of violation for each of 400 gateways of the node. */
#define METRIC_SERIES_MAX 4096
/* Bytes of one label's value: a Kubernetes name has at most 253. */
#define METRIC_LABEL_MAX 256
/* Bytes that a command takes from an agent's answer, and from one event. */
#define CLIENT_ANSWER_MAX (16u << 20)
#define CLIENT_EVENT_MAX (64u << 10)

/* Name servers of a resolv.conf: the resolver of libc knows three. Addresses of one answer. */
#define DNS_SERVERS_MAX 3
#define DNS_ADDRESSES_MAX 8
#define RESOLV_CONF_MAX 4096
/* A datagram of a question (STUN: 20 bytes) and of its answer. */
#define UDP_REQUEST_MAX 64
#define UDP_ANSWER_MAX 1500
/* Probes that wait for their turn: one whole round of every subject and of the node. */
#define PROBES_QUEUED_MAX ((SUBJECTS_MAX + 1) * ECHOES_MAX)
/* Idle libcurl handles kept for the next probe, at about 5 kB each. */
#define HTTP_IDLE_HANDLES_MAX 16
/*
 * Requests per second one node sends to one echo. 250 pods every 30 s are 8.3;
 * the rest is for control probes, requests and restarts. A public echo sees at most this from a node.
 */
#define ECHO_RATE_PER_S 20
#define ECHO_BURST 32
/* Longest pause that a Retry-After may impose: an hour without proof helps nobody. */
#define ECHO_BACKOFF_MAX_NS (900ULL * 1000000000ULL)
/* Least time between rounds of one subject: by changes, and by POST /v1/probe. */
#define PROBE_ROUND_GAP_NS (1ULL * 1000000000ULL)
#define PROBE_REQUEST_GAP_NS (5ULL * 1000000000ULL)
/* Our echo: connections at once, and seconds until an idle one is closed. */
#define ECHO_CONNECTIONS_MAX 1024
/* Of one address: all pods of a gateway may come from one, and none takes an echo from the others. */
#define ECHO_PER_PEER_MAX 512
#define ECHO_IDLE_S 15

/* SO_PRIORITY of the agent's own probe sockets: the packet programs pass them over. */
#define PROBE_PRIORITY 0x65760001

/* Slots in which the packet programs count, all CPUs together: 64 bytes each, 4 MiB of kernel memory. */
#define FLOW_SLOTS 65536
/* Slots of one CPU, however many there are: below this a busy pod's flows push each other out. */
#define FLOW_SLOTS_PER_CPU_MIN 1024
/* Records of new flows, 144 bytes each: 45,000 new flows/s fit between two drains. */
#define FLOW_RING_BYTES (256u << 10)
/* Flows of an earlier run whose next packet leaves a record: half of what the ring holds. */
#define FLOW_WATCHES_MAX 900
/* New flows are seen within this; a violation is due 100 ms after its first packet. */
#define FLOW_DRAIN_MS 40
#define FLOW_SWEEP_MS 1000
/* While new flows come so fast that the ring would fill: 360,000 a second. */
#define FLOW_DRAIN_HURRIED_MS 5
/* Records handled in one turn of the loop, so that a flood of flows leaves probes their time. */
#define FLOW_DRAIN_MAX 4096
/* Interfaces of one subject: eth0, wg0 and what other CNI plugins add. */
#define FLOW_LINKS_MAX 16

/* Files under inventory.netnsDir: one per pod, twice the pods a node may run, and some that are not pods. */
#define NETNS_MAX 1024
/* Addresses kept of one namespace to find its pod by: eth0's, and a few more of secondary networks. */
#define NETNS_ADDRESSES_MAX 16
/* One message of a netlink dump: the kernel fills at most 32 KiB, whatever the buffer. */
#define NETLINK_BUFFER_SIZE 32768
/* A dump that the kernel calls inconsistent is asked again; a pod that changes all the time may not hold us. */
#define NETLINK_DUMP_ATTEMPTS 3
/* A dump is answered from the kernel's memory; what takes longer waits for a lock that somebody holds. */
#define NETLINK_TIMEOUT_MS 200
/* Answer of a userspace WireGuard: a pod's tunnel has one peer, and 250 bytes describe it. */
#define WIREGUARD_ANSWER_MAX 65536
#define WIREGUARD_TIMEOUT_NS (500ULL * 1000000ULL)
/* Questions to userspace WireGuards at once: all pods of a node when the agent starts. What is not answered takes no memory. */
#define TUNNEL_ANSWERS_MAX 256
/* The node's CNI configuration: files of the folder, and bytes of one. */
#define CONFLIST_FILES_MAX 64
#define CONFLIST_FILE_MAX (256u << 10)
/* From a change in a namespace to its reading: bursts become one; constant change makes it rarer. */
#define LIVE_DEBOUNCE_NS (15ULL * 1000000ULL)
#define LIVE_DEBOUNCE_MAX_NS (1000ULL * 1000000ULL)
/* Counters of a tunnel change without notification; its faults show after 180 s. */
#define LIVE_TUNNEL_INTERVAL_NS (10ULL * 1000000000ULL)

/* Credentials are read again when they are older: kubelet renews a token at 80 % of its hour at least. */
#define KUBE_CREDENTIALS_NS (60ULL * 1000000000ULL)
/* Bytes of a token: a service account's has 1 kB, one of an identity provider with many groups 8. */
#define KUBE_TOKEN_MAX (16u << 10)
/* Bytes of certificates: etcd takes no larger ConfigMap; all authorities that browsers know are 220 kB. */
#define KUBE_PEM_MAX (1u << 20)
/* A request to the API server that is no stream; its own bound for what is no watch is 60 s. */
#define KUBE_TIMEOUT_NS (30ULL * 1000000000ULL)
/* Of that, or of a stream: until TLS is up. To ask for the server's name. */
#define KUBE_CONNECT_NS (10ULL * 1000000000ULL)
#define KUBE_RESOLVE_NS (5ULL * 1000000000ULL)
/* Bytes of an answer that tells what went wrong: a Status of all causes is a few kB. */
#define KUBE_STATUS_MAX (64u << 10)
/* Texts of warnings that were logged: the server has one for each deprecated resource, of which we ask seven. */
#define KUBE_WARNINGS_MAX 16
/* Headers of a request besides those that every one has: what the environment may add, and two of ours. */
#define KUBE_HEADERS_MAX (EXPORT_HEADERS_MAX + 2)

/* "spec.nodeName=" and more, with a node's name of at most 253. */
#define KUBE_SELECTOR_MAX 384
/* A list that the API server said nothing of for so long is not to be relied on: bookmarks come every minute. */
#define SOURCE_STALE_NS (90ULL * 1000000000ULL)

/* Kubernetes: names of objects (RFC 1123 subdomain) and of namespaces (label). */
#define KUBE_NAME_MAX 253
#define KUBE_LABEL_MAX 63
/* Bytes of an event's reason, action and instance; of its note (kubernetes, pkg/apis/core/validation/events.go); of all of it. */
#define KUBE_EVENT_TEXT_MAX 128
#define KUBE_EVENT_NOTE_MAX 1024
#define KUBE_EVENT_BYTES_MAX (16u << 10)
/* Different events that are remembered, at about 1.5 kB each: a violation of every subject, told of its pod and its gateway. */
#define KUBE_EVENT_SERIES_MAX 1024
/* Events that wait for the API server: every pod of a node and its gateway. Twelve tries of one take six minutes. */
#define KUBE_EVENTS_QUEUED_MAX 512
#define KUBE_EVENT_TRIES 12
/* A repeat within this belongs to the series, which ends after it; a series is told anew this often (client-go's figures). */
#define KUBE_EVENT_SERIES_NS (360ULL * 1000000000ULL)
#define KUBE_EVENT_REFRESH_NS (1800ULL * 1000000000ULL)
/* The API server forgets an event after an hour (--event-ttl): its name is free again. */
#define KUBE_EVENT_KEPT_NS (3600ULL * 1000000000ULL)
/* New events of one object: client-go's budget. Objects that have one; the oldest gives way. */
#define KUBE_EVENT_OBJECT_BURST 25
#define KUBE_EVENT_OBJECT_NS (300ULL * 1000000000ULL)
#define KUBE_EVENT_OBJECTS_MAX 512
/* Of one agent: one for every subject when all break at once, then one a second. */
#define KUBE_EVENT_AGENT_BURST 512
#define KUBE_EVENT_AGENT_NS (1ULL * 1000000000ULL)
/* Between tries: doubled from the first to the last, a quarter of jitter; what a Retry-After may ask for. */
#define KUBE_EVENT_BACKOFF_NS (1ULL * 1000000000ULL)
#define KUBE_EVENT_BACKOFF_MAX_NS (60ULL * 1000000000ULL)
#define KUBE_EVENT_RETRY_AFTER_MAX_NS (300ULL * 1000000000ULL)

/* Flows of one subject that took a wrong way and are listed; more are counted. */
#define OFFENDING_MAX 1024
/* Everything is judged anew this often: graces end and proofs age without any event. */
#define JUDGE_TICK_MS 1000
/* Descriptors: three per subject and namespace, two per probe in flight, the HTTP connections. */
#define DESCRIPTORS_WANTED 8192
/* Larger blocks are mapped by themselves, and go back to the kernel when they are freed. */
#define HEAP_BLOCK_MAX (128u << 10)

/* Where the agent may connect to from the node's own namespace: every echo by TCP or UDP, and its name servers by both. */
#define BROKER_DESTINATIONS_MAX (4 * ECHOES_MAX + 18)
/* A kubeconfig, and authority, token, certificate and key that it names; of the collector authority, certificate and key, for logs and metrics. */
#define BROKER_FILES_MAX 11
/* To load the programs takes a second on a slow node, an attachment 20 ms; a broker that takes longer is lost. */
#define BROKER_TIMEOUT_NS (20ULL * 1000000000ULL)
/* From SIGTERM to SIGKILL: the last report and the packet programs' last counts are taken meanwhile. */
#define BROKER_STOP_NS (20ULL * 1000000000ULL)
/* Without its socket the worker has nothing left to do. */
#define BROKER_GONE_NS (5ULL * 1000000000ULL)
/*
 * A process that was killed is gone within milliseconds, on a machine that is short of time within seconds; an agent that
 * runs is told apart after this.
 */
#define BROKER_LISTEN_TRIES 250
#define BROKER_LISTEN_PAUSE_MS 20

/* One object of the API server: etcd takes 1.5 MiB, JSON and managed fields make more of it. */
#define KUBE_FRAME_MAX (8u << 20)
/* What a list says beside its items, and one word of it: kind, version, where it continues. */
#define KUBE_LIST_REST_MAX (64u << 10)
/* Nesting that is decoded, and that is passed over: Go's decoder, which fills the store, takes 10,000. */
#define KUBE_DEPTH_MAX 64
#define KUBE_SKIP_DEPTH_MAX 10240
/* A resourceVersion is a decimal of 64 bits; a continue token, a key and a version in base64. */
#define KUBE_VERSION_MAX 64
#define KUBE_CONTINUE_MAX 4096
/* client-go's page; and pages of one list, five million objects: a server that never ends one is broken. */
#define KUBE_PAGE_ITEMS 500
#define KUBE_PAGES_MAX 10000
/* A page that the server has no room for is asked again; then the list from its beginning. */
#define KUBE_PAGE_TRIES 10
/* The API server itself gives a request that is no watch 60 s. */
#define KUBE_LIST_TIMEOUT_NS (65ULL * 1000000000ULL)
/* A watch ends after this, up to twice: client-go's, shorter ones cost the server too much. */
#define KUBE_WATCH_TIMEOUT_S 300
/* Past its end, and without a word where the server sends one every minute (bookmarks). */
#define KUBE_WATCH_GRACE_NS (30ULL * 1000000000ULL)
#define KUBE_WATCH_SILENCE_NS (150ULL * 1000000000ULL)
/* A watch is answered at once; a server that takes it and says nothing is no server. */
#define KUBE_WATCH_OPEN_NS (30ULL * 1000000000ULL)
/* A watch of no length that brought nothing is a failure: client-go's "very short watch". */
#define KUBE_WATCH_SHORT_NS (1ULL * 1000000000ULL)
/* Until a streaming list moves on, and until it is complete: 165,000 pods took a server 30 s (KEP-3157). */
#define KUBE_INITIAL_QUIET_NS (30ULL * 1000000000ULL)
#define KUBE_INITIAL_NS (120ULL * 1000000000ULL)
/* Servers are updated: one that did not know streaming lists is asked for one again. */
#define KUBE_STREAM_REFUSED_NS (3600ULL * 1000000000ULL)
#define KUBE_STREAM_TRIES 3
/* Pauses: client-go's. Each is drawn from once to twice its length. */
#define KUBE_BACKOFF_NS (800ULL * 1000000ULL)
#define KUBE_BACKOFF_MAX_NS (30ULL * 1000000000ULL)
#define KUBE_BACKOFF_RESET_NS (120ULL * 1000000000ULL)
/* Longest pause that a Retry-After may impose. */
#define KUBE_RETRY_AFTER_MAX_NS (120ULL * 1000000000ULL)
/* A watch that the server fails (5xx) is asked for this long before its list is read anew. */
#define KUBE_WATCH_TROUBLE_NS (60ULL * 1000000000ULL)
/* A connection that broke is made again within this: not by all nodes at once. */
#define KUBE_RECONNECT_NS (250ULL * 1000000ULL)
/*
 * What is absent or forbidden is asked again within 10 s while somebody may be installing it,
 * then within a minute: 5,000 nodes ask.
 */
#define KUBE_POLL_NS (5ULL * 1000000000ULL)
#define KUBE_POLL_SLOW_NS (30ULL * 1000000000ULL)
#define KUBE_POLL_SLOW_AFTER_NS (600ULL * 1000000000ULL)
/* Objects of a resource that is gone are kept this long: its definition may be replaced. */
#define KUBE_ABSENT_NS (60ULL * 1000000000ULL)

/* One row of the spool: a violation with its evidence (EVIDENCE_MAX), reason and remedy, escaped. Rows of one message: of one change. */
#define SPOOL_BODY_MAX (48u << 10)
#define SPOOL_ROWS_MAX 4
#define SPOOL_DIRECTORY_MAX 1024
/* Messages put into one transaction: one fsync(2) for all that came during the last one. */
#define SPOOL_BATCH_MAX 256
/* The disk is tried again. */
#define SPOOL_RETRY_NS (30ULL * 1000000000ULL)
/* Looked whether it is time for that, and what is too old dropped: the retry is not a whole round of its own late. */
#define SPOOL_TICK_NS (5ULL * 1000000000ULL)
/* Reports and history older than a month: no collector's backend takes such times any more. */
#define SPOOL_AGE_US (30LL * 86400 * 1000000)
/* A subject that nobody wrote for so long is no pod of this node any more. */
#define SPOOL_SUBJECT_AGE_US (7LL * 86400 * 1000000)
/* So one that is still here is written anew, whether it changed or not. */
#define SPOOL_SUBJECT_AGAIN_NS (86400ULL * 1000000000ULL)
/*
 * Newer records wait so long for older ones on a disk that cannot be read: an agent that ends while its disk is slow has it for
 * less. Later they go first: a broken disk must not silence a node.
 */
#define SPOOL_HOLD_NS (60ULL * 1000000000ULL)
/* While the disk refuses: some thousand changes. */
#define SPOOL_MEMORY_BYTES (8u << 20)
/* Of a disk that is smaller than collector.spool.maxBytes one part in so many is the file system's; below the minimum it is full, not small. */
#define SPOOL_DISK_PART 16
#define SPOOL_DISK_MIN (1u << 20)
/* In the worker while the disk is slow. */
#define SPOOL_QUEUE_BYTES_MAX (4u << 20)
/* Without an answer for so long, which is many times what a throttled one takes, the disk does not answer. */
#define SPOOL_STUCK_NS (10ULL * 1000000000ULL)
/* A drop is worth a condition for so long. */
#define SPOOL_FULL_NS (600ULL * 1000000000ULL)
/* Between worker and spool, each way: more than two of the longest messages, else one could never be sent. */
#define SPOOL_SOCKET_BYTES (256u << 10)
/* From the worker's end to the agent's: what it said last is kept meanwhile, unless the disk is stuck. */
#define SPOOL_END_NS (5ULL * 1000000000ULL)
/*
 * To open and check it on a slow disk, while nothing else is done. What takes longer is judged without: a kubelet that gets no
 * answer three times in a row, ten seconds apart, kills the agent. To say the last word.
 */
#define SPOOL_OPEN_MS 10000
#define SPOOL_CLOSE_MS 3000
/* Pages SQLite keeps in memory; its log on disk, of small spools a quarter: twice a transaction. */
#define SPOOL_CACHE_BYTES (512u << 10)
#define SPOOL_WAL_BYTES (2u << 20)

/* OTLP: headers and resource attributes that the environment may add. */
#define EXPORT_HEADERS_MAX 32
#define EXPORT_ATTRIBUTES_MAX 64
/* Bytes of a variable with a list: what servers take of headers is less, and a resource goes with each request. */
#define EXPORT_VARIABLE_MAX (32u << 10)
/* A request's time: the specification's default, and what 0 ("no bound") and more are. */
#define EXPORT_TIMEOUT_NS (10ULL * 1000000000ULL)
#define EXPORT_TIMEOUT_MAX_NS (600ULL * 1000000000ULL)
/* Metrics: the specification's default; more often is a stream, less often than daily nothing. */
#define EXPORT_INTERVAL_NS (60ULL * 1000000000ULL)
#define EXPORT_INTERVAL_MIN_NS (1ULL * 1000000000ULL)
#define EXPORT_INTERVAL_MAX_NS (86400ULL * 1000000000ULL)
/* One request before compression: a fifth of the Collector's own bound of 20 MiB. Records of one. */
#define EXPORT_REQUEST_MAX (4u << 20)
#define EXPORT_RECORDS_MAX 512
/* Of an answer, as the specification says; of its message, what is logged. */
#define EXPORT_ANSWER_MAX (4u << 20)
#define EXPORT_MESSAGE_MAX 256
/* Of it, what is parsed: read, JSON takes fifty times its bytes. The Collector reads no more of an answer either. */
#define EXPORT_ANSWER_JSON_MAX (64u << 10)
/* Texts of a collector's warnings that were logged, each once. */
#define EXPORT_WARNINGS_MAX 16
/* Changes of one moment go together. */
#define EXPORT_DELAY_NS (50ULL * 1000000ULL)
/* Between tries: doubled, each drawn from half to one and a half of it; what a Retry-After may ask for. */
#define EXPORT_BACKOFF_NS (1ULL * 1000000000ULL)
#define EXPORT_BACKOFF_MAX_NS (30ULL * 1000000000ULL)
#define EXPORT_RETRY_AFTER_MAX_NS (600ULL * 1000000000ULL)
/* Refusals of one record alone while the collector took others. */
#define EXPORT_REFUSALS_MAX 5
/* Changes that wait to be told until they are kept; and how long at most: a slow disk must not keep an alarm back. */
#define TELL_QUEUE_MAX 4096
#define TELL_WAIT_NS (1ULL * 1000000000ULL)
/* node.report, and last proofs into the spool. */
#define REPORT_INTERVAL_NS (60ULL * 1000000000ULL)
