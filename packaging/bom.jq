# Adds to the output of cyclonedx-gomod the time of the commit ($date) and the licenses that go-licenses found ($licenses,
# see licenses.tmpl): cyclonedx-gomod's own detection reports wrong ones. Removes the hash of cyclonedx-gomod itself, which
# depends on the build machine.
def license: . as $name
  | [$licenses | split("\n")[] | select(. != "") | split(" ") | select(.[0] == $name or (.[0] | startswith($name + "/"))) | .[3:] | join(" ")]
  | unique | join(" AND ")
  | if . == "" or contains("Unknown") then error("license of \($name) is unknown") else . end;

del(.metadata.tools[].hashes)
| .metadata.timestamp = ($date | tonumber | todate)
| .metadata.component.licenses = [{license: {id: "Apache-2.0"}}]
| .components |= map(.licenses = [{expression: (.name | license)}])
