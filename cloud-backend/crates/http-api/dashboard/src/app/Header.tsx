import { Burger, NativeSelect } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { tenantsQuery } from "../api/queries";
import { formatTime, zoneName } from "../lib/format";
import { useNow } from "../lib/useNow";
import { useConnection } from "../live/LiveProvider";
import { t } from "../text";
import { useSession } from "./Gate";
import css from "./Header.module.css";
import { useZone } from "./preferences";

interface HeaderProps {
  tenant: string;
  opened: boolean;
  toggle: () => void;
}

export function Header({ tenant, opened, toggle }: HeaderProps) {
  return (
    <div className={css["bar"]}>
      <Burger opened={opened} onClick={toggle} hiddenFrom="sm" size="sm" aria-label={t.shell.menu} aria-expanded={opened} />
      <div className={css["product"]}>
        <img src="/favicon.svg" alt="" width={22} height={22} />
        <span>{t.product}</span>
      </div>
      <TenantSwitch tenant={tenant} />
      <div className={css["grow"]} />
      <LiveMark />
      <Clock />
    </div>
  );
}

function TenantSwitch({ tenant }: { tenant: string }) {
  const { tenants } = useSession();
  const navigate = useNavigate();
  const several = tenants.length > 1;
  const counts = useQuery({ ...tenantsQuery, enabled: several }).data?.items ?? [];
  const alarmsOf = (id: string) => counts.find((each) => each.id === id)?.active_alarms ?? 0;
  if (!several) return <div className={css["tenant"]}>{tenants[0]?.name}</div>;
  return (
    <NativeSelect
      size="xs"
      className={css["switch"] ?? ""}
      aria-label={t.shell.tenant}
      value={tenant}
      data={tenants.map(({ id, name }) => ({ value: id, label: t.shell.tenantOption(name, alarmsOf(id)) }))}
      onChange={(event) => void navigate({ to: "/$tenant", params: { tenant: event.currentTarget.value } })}
    />
  );
}

function LiveMark() {
  const { kind } = useConnection();
  const words = { live: t.live.live, connecting: t.live.connecting, lost: t.live.lostShort };
  return (
    <span className={css["live"]} data-connection={kind}>
      <svg width="10" height="10" viewBox="0 0 10 10" aria-hidden>
        <circle cx="5" cy="5" r="4" fill={kind === "live" ? "currentColor" : "none"} stroke="currentColor" strokeWidth="1.5" />
      </svg>
      {words[kind]}
    </span>
  );
}

function Clock() {
  const zone = useZone();
  const now = useNow();
  return (
    <span className={css["clock"]}>
      {formatTime(now, zone)} <small className="dim">{zoneName(zone)}</small>
    </span>
  );
}
