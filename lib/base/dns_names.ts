/** The DNS names of a certificate, in small letters, by its subjectAltName as node:crypto spells it. */
export function dnsNames(subjectAltName = ""): string[] {
  return [...subjectAltName.matchAll(/(?:^|, )DNS:([^,\s]+)/g)].map(([, name]) =>
    name!.toLowerCase()
  );
}
