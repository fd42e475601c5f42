#include "verdict/remedy.h"

#include <stdio.h>

#include "verdict/sentence.h"

/* Routes and tunnel are written once, at CNI ADD; only a new sandbox gets new ones. */
static void restart_pod(const struct subject *subject, const char *why, char *out)
{
	sentence_set(out, REMEDY_MAX,
	             "%s: restart the pod with `kubectl delete pod -n %s %s` (or `kubectl rollout "
	             "restart` of its workload)",
	             why, subject->namespace, subject->pod);
}

static const char *gateway_name(const struct subject *subject)
{
	return subject->gateway ? subject->gateway->name : subject->gateway_name;
}

static void bad_exception(const struct subject *subject, char *out)
{
	if (!subject->gateway || !subject->gateway->bad_exception)
		return;
	sentence_set(out, REMEDY_MAX,
	             "remove `%s` from spec.excludeCidrs, it is no IPv4 CIDR and makes every start "
	             "of a pod fail: `kubectl edit staticgatewayconfiguration -n %s %s`",
	             subject->gateway->bad_exception, subject->namespace, gateway_name(subject));
}

static void host_network(const struct subject *subject, char *out)
{
	sentence_set(out, REMEDY_MAX,
	             "the static egress gateway does not serve hostNetwork pods: set `hostNetwork: "
	             "false` in the workload of the pod (`kubectl get pod -n %s %s -o "
	             "jsonpath='{.metadata.ownerReferences}'` names it)",
	             subject->namespace, subject->pod);
}

static void annotate(const struct subject *subject, char *out)
{
	sentence_set(out, REMEDY_MAX,
	             "annotate the pod template with "
	             "kubernetes.azure.com/static-gateway-configuration; these exist: `kubectl get "
	             "staticgatewayconfiguration -n %s`",
	             subject->namespace);
}

static void past_the_tunnel(const struct subject *subject, char *out)
{
	bool none = subject->live.readable && !subject->live.tunnel_ifindex;

	restart_pod(subject,
	            none ? "the pod has no tunnel" : "the pod's routes lead past the tunnel", out);
}

void remedy_of_flow(const struct subject *subject, enum violation_kind kind,
                    char out[static REMEDY_MAX])
{
	if (kind == UNGOVERNED_EGRESS) {
		annotate(subject, out);
		return;
	}
	if (kind == UNEXPECTED_GATEWAY) {
		restart_pod(subject, "the pod's routes still send this to the gateway", out);
		return;
	}
	if (subject->host_network) {
		host_network(subject, out);
		return;
	}
	past_the_tunnel(subject, out);
}

void remedy_of_source(const struct subject *subject, enum attribution attribution, bool past_tunnel,
                      char out[static REMEDY_MAX])
{
	const char *what = "the address belongs to nobody known here";

	if (past_tunnel) {
		past_the_tunnel(subject, out);
		return;
	}
	switch (attribution) {
	case ATTRIBUTION_GATEWAY:
		what = "a gateway node translates to another gateway's address";
		break;
	case ATTRIBUTION_NODE:
		what = "the traffic leaves this node directly";
		break;
	case ATTRIBUTION_OUTBOUND:
		what = "no gateway node translates the traffic";
		break;
	case ATTRIBUTION_NONE:
	case ATTRIBUTION_EXPECTED:
	case ATTRIBUTION_UNKNOWN:
	case _ATTRIBUTION_MAX:
		break;
	}
	sentence_set(out, REMEDY_MAX,
	             "%s: compare the gateway nodes with `kubectl describe gatewayvmconfiguration "
	             "-n %s %s` (secondaryIP per node is the SNAT address in "
	             "ns-static-egress-gateway)",
	             what, subject->namespace, gateway_name(subject));
}

void remedy_of_tunnel(const struct subject *subject, enum remedy_tunnel what,
                      char out[static REMEDY_MAX])
{
	if (what == REMEDY_TUNNEL_STALE) {
		restart_pod(subject, "the tunnel was made for another state of the gateway", out);
		return;
	}
	sentence_set(out, REMEDY_MAX,
	             "no gateway node answers the pod's tunnel: see whether one lists the pod "
	             "under readyPeerConfigurations, `kubectl get gatewaystatus -A -o yaml | grep "
	             "-B1 -A2 %s/%s`",
	             subject->namespace, subject->pod);
}

void remedy_of_silence(const struct subject *subject, bool resolve, char out[static REMEDY_MAX])
{
	if (resolve) {
		sentence_set(out, REMEDY_MAX,
		             "names do not resolve in the pod: `kubectl debug -n %s %s "
		             "--image=busybox -- nslookup kubernetes.default`, and see whether "
		             "excludeCidrs holds the DNS service",
		             subject->namespace, subject->pod);
		return;
	}
	sentence_set(out, REMEDY_MAX,
	             "check gateway nodes and the firewall behind them (allow-list the gateway's "
	             "prefix): `kubectl describe gatewayvmconfiguration -n %s %s`",
	             subject->namespace, gateway_name(subject));
}

void remedy_of_object(const struct subject *subject, enum violation_kind kind,
                      char out[static REMEDY_MAX])
{
	if (kind == MISSING_CONFIGURATION) {
		sentence_set(out, REMEDY_MAX,
		             "create it in the pod's own namespace or correct the annotation: "
		             "`kubectl get staticgatewayconfiguration -n %s`",
		             subject->namespace);
	} else if (kind == STALE_ROUTES && subject->gateway && subject->gateway->bad_exception) {
		bad_exception(subject, out); /* before it, a restart would end in no pod at all */
		sentence_add(out, REMEDY_MAX,
		             ", then restart the pod: `kubectl delete pod -n %s %s`",
		             subject->namespace, subject->pod);
	} else if (kind == STALE_ROUTES) {
		restart_pod(subject, "routes are written only when a pod starts", out);
	} else if (kind == UNPROGRAMMED_POD && subject->host_network) {
		host_network(subject, out);
	} else if (subject->gateway && subject->gateway->bad_exception) {
		bad_exception(subject, out);
	} else if (kind == UNPROGRAMMED_POD) {
		restart_pod(subject,
		            "the pod started before it was annotated, or without the "
		            "gateway's CNI plugin",
		            out);
	} else {
		sentence_set(out, REMEDY_MAX,
		             "see why no prefix was provisioned: `kubectl describe "
		             "staticgatewayconfiguration -n %s %s`",
		             subject->namespace, gateway_name(subject));
	}
}
