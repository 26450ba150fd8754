/** What a scanner finds at an https listener with the defaults, with either kind of key. */
import { assertEquals } from "@std/assert";
import { Authority } from "../harness/certificates.ts";
import { testWith } from "../harness/needs.ts";
import { Server } from "../harness/server.ts";
import { scanTls } from "../harness/sslyze.ts";
import { createTlsProject } from "../harness/tls.ts";

/** All of TLS 1.2 have forward secrecy and authenticated encryption. */
const SUITES_1_2 = ["AES_128_GCM_SHA256", "AES_256_GCM_SHA384", "CHACHA20_POLY1305_SHA256"];

/** Each as the scanner names it. Sessions are resumed by id alone: no ticket key has to be changed. */
const PROPERTIES = {
  supports_compression: false,
  supports_early_data: false,
  is_vulnerable_to_ccs_injection: false,
  supports_fallback_scsv: true,
  is_vulnerable_to_heartbleed: false,
  robot_result: "NOT_VULNERABLE_RSA_NOT_SUPPORTED",
  supports_secure_renegotiation: true,
  is_vulnerable_to_client_renegotiation_dos: false,
  client_renegotiations_success_count: 0,
  supports_ems_extension: true,
  session_id_resumption_result: "FULLY_SUPPORTED",
  tls_ticket_resumption_result: "NOT_SUPPORTED",
};

for (const kind of ["ec", "rsa"] as const) {
  testWith(
    { programs: ["openssl", "sslyze"] },
    `a scan of TLS with the defaults finds nothing to object to (${kind})`,
    async () => {
      await using authority = await Authority.create();
      const { project, port } = await createTlsProject(await authority.issue(kind));
      await using server = await Server.startOn(project);
      const { suites, curves, properties, shortcomings } = await scanTls(port);
      assertEquals(suites, {
        ssl_2_0: [],
        ssl_3_0: [],
        tls_1_0: [],
        tls_1_1: [],
        tls_1_2: SUITES_1_2.map((name) =>
          `TLS_ECDHE_${kind === "ec" ? "ECDSA" : "RSA"}_WITH_${name}`
        ),
        tls_1_3: SUITES_1_2.map((name) => `TLS_${name}`),
      });
      assertEquals(curves, ["X25519", "secp256r1", "secp384r1"]);
      assertEquals(properties, PROPERTIES);
      // Nobody but the test trusts the authority that issued its certificate.
      assertEquals(shortcomings.map((each) => each.split(":")[0]), ["certificate_path_validation"]);
      void server;
    },
  );
}
