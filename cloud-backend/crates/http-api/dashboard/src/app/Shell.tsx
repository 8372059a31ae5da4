/** Header, navigation and the page of one tenant. */
import { AppShell } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { Outlet, useParams } from "@tanstack/react-router";
import { Suspense } from "react";
import { Empty, Waiting } from "../components/Loadable";
import { LiveBanner } from "../components/LiveBanner";
import { LiveProvider } from "../live/LiveProvider";
import { t } from "../text";
import { useSession } from "./Gate";
import { Header } from "./Header";
import { Nav } from "./Nav";

export function Shell() {
  const { tenant } = useParams({ from: "/$tenant" });
  const [opened, { toggle, close }] = useDisclosure(false);
  const known = useSession().tenants.some((each) => each.id === tenant);
  if (!known) return <Empty heading={t.error.notFound} />;
  return (
    <LiveProvider tenant={tenant} key={tenant}>
      <a className="skip" href="#content">
        {t.skipToContent}
      </a>
      <AppShell
        header={{ height: 48 }}
        navbar={{ width: 188, breakpoint: "sm", collapsed: { mobile: !opened } }}
        padding={{ base: "xs", sm: "md" }}
        transitionDuration={0}
      >
        <AppShell.Header>
          <Header tenant={tenant} opened={opened} toggle={toggle} />
        </AppShell.Header>
        <AppShell.Navbar p="xs" aria-label={t.shell.navigation}>
          <Nav tenant={tenant} onNavigate={close} />
        </AppShell.Navbar>
        <AppShell.Main id="content" tabIndex={-1} style={{ background: "var(--ground)", outline: "none" }}>
          <LiveBanner />
          <Suspense fallback={<Waiting />}>
            <Outlet />
          </Suspense>
        </AppShell.Main>
      </AppShell>
    </LiveProvider>
  );
}
