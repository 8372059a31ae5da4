import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

// `npm run dev` forwards the API to the mock server, or to a real backend named in DASHBOARD_API.
const api = process.env["DASHBOARD_API"] ?? "http://127.0.0.1:5180";

export default defineConfig({
  plugins: [react()],
  server: { host: "127.0.0.1", proxy: { "/api": api } },
  // The size that matters is the compressed one; scripts/precompress.mjs holds its limit.
  build: { target: "es2022", assetsInlineLimit: 0, chunkSizeWarningLimit: 1000 },
  test: { environment: "happy-dom", include: ["src/**/*.test.{ts,tsx}"], restoreMocks: true },
});
