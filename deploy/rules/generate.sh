#!/bin/sh
# Writes prometheusrule.yaml, the rules as the Prometheus operator takes them, from egress-verifier.rules.yaml.
# RUNBOOKS=URL deploy/rules/generate.sh: in both files, runbook_url begins with URL from then on.
set -eu
cd "$(dirname "$0")"
raw=egress-verifier.rules.yaml
if [ -n "${RUNBOOKS:-}" ]; then
	case $RUNBOOKS in
	*[!A-Za-z0-9:/._~%-]*) echo "generate: RUNBOOKS is no plain URL" >&2 && exit 2 ;;
	esac
	sed -i "s,^\( *runbook_url: \).*/,\1${RUNBOOKS%/}/," $raw
fi
{
	cat <<END
# Made by generate.sh from $raw; change that.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: egress-verifier
  labels:
    app.kubernetes.io/name: egress-verifier
spec:
END
	sed -n '/^groups:/,$p' $raw | sed 's/^./  &/'
} >prometheusrule.yaml
