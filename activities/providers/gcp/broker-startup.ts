/**
 * The start-up script of a broker machine. It reads what to run from the instance's metadata, so that a new release changes
 * metadata and not the template: `program-source` (gs:// URL), `program-sha256`, `program-main`.
 * https://cloud.google.com/compute/docs/instances/startup-scripts/linux
 */
export const brokerStartup = `#!/bin/bash
set -euo pipefail
metadata() { curl -sf -H 'Metadata-Flavor: Google' "http://metadata.google.internal/computeMetadata/v1/$1"; }

# Node.js of Debian: security updates come with the system's own.
if ! command -v node >/dev/null; then
  apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy nodejs unattended-upgrades
fi
id broker >/dev/null 2>&1 || useradd --system --no-create-home --shell /usr/sbin/nologin broker

source=$(metadata instance/attributes/program-source)
expected=$(metadata instance/attributes/program-sha256)
main=$(metadata instance/attributes/program-main)
token=$(metadata instance/service-accounts/default/token | node -pe 'JSON.parse(require("fs").readFileSync(0)).access_token')
bucket=\${source#gs://}; object=\${bucket#*/}; bucket=\${bucket%%/*}
encoded=$(node -pe 'encodeURIComponent(process.argv[1])' "$object")

work=$(mktemp -d)
printf 'header = "Authorization: Bearer %s"\\n' "$token" | curl -sf --retry 5 -K - -o "$work/program.tar.gz" \\
  "https://storage.googleapis.com/storage/v1/b/$bucket/o/$encoded?alt=media"
echo "$expected  $work/program.tar.gz" | sha256sum --check --quiet
rm -rf /opt/broker && mkdir -p /opt/broker
tar -xzf "$work/program.tar.gz" -C /opt/broker --no-same-owner
rm -rf "$work"

cat > /etc/systemd/system/broker.service <<UNIT
[Unit]
Description=MQTT broker
After=network-online.target
[Service]
ExecStart=/usr/bin/node /opt/broker/$main
User=broker
Restart=always
RestartSec=1
LimitNOFILE=1048576
NoNewPrivileges=true
ProtectSystem=strict
ProtectHome=true
PrivateTmp=true
[Install]
WantedBy=multi-user.target
UNIT
systemctl daemon-reload
systemctl enable broker
systemctl restart broker
`;
